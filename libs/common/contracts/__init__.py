"""What crosses the wire between processes: data types and names, without behaviour.

services       the table of services: names, queues, roles, ports, needs
ids            public ids: job_…, schedule_…, replay_…
events         the events that workers publish about jobs, and the cancels that they receive
time_zones     names of time zones
whole_numbers  whole numbers, whether JSON writes them as 8 or 8.0
ocr            the payload and the artifacts of an OCR job
mail           letters, recipients, and the payload of a mail job
opportunities  searches of opportunities, their changes, and texts that they fit
searches       saved searches
json_documents documents as JSON
moments        moments that callers name, and how they are told of one
datasets       what services publish for exports
exports        what may be asked of an export, and the payloads of the exporter's jobs
analytics      events, queries, reports, and the payloads of analytics jobs
sync           sources, and the payloads of sync jobs
"""
