"""What crosses the wire between processes: shapes and names, no behaviour.

ids     public ids: job_…, schedule_…, replay_…
events  what workers tell of their jobs, and what they are told
numbers whole numbers, however JSON writes them
ocr     the payload and the artifacts of an OCR job
mail    letters, recipients, and the payload of a mail job
"""

QUEUES = ("ocr", "mailer")
"""Every queue of the fleet; each is consumed by the worker of the same name."""
