"""What crosses the wire between processes: shapes and names, no behaviour.

job   a job's public id
ocr   the payload and the artifacts of an OCR job
"""

QUEUES = ("ocr",)
"""Every queue of the fleet; each is consumed by the worker of the same name."""
