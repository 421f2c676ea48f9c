"""What crosses the wire between processes: shapes and names, no behaviour.

services  the table of services: names, queues, roles, ports, needs
ids       public ids: job_…, schedule_…, replay_…
events    messages about jobs between workers and gateways
numbers   whole numbers, however JSON writes them
ocr       the payload and the artifacts of an OCR job
mail      letters, recipients, and the payload of a mail job
"""
