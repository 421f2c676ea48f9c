"""OCR beside the bare tesseract program and OCRmyPDF: time, memory, words read, and where they are."""
