"""Reads scans and PDFs. Results: text, words with bounding boxes, and a searchable PDF."""
