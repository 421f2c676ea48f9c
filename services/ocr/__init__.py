"""Reads documents: scans and PDFs in; text, words with their places, and a searchable PDF out."""
