"""The process that plans for a panel: requests on standard input, events on standard output.

``python -m radplan.worker``. Every line is one JSON object in UTF-8. A request is
``{"id": n, "do": "...", …}``, an event ``{"event": "...", …}``. Every request ends in exactly one
``{"event": "done", "id": n, …}`` or ``{"event": "failed", "id": n, "error": text, "kind": …}``; a
line that is no request ends in ``failed`` with the id null. Standard error is a log.

Requests are done one after the other, except ``cancel`` and ``shutdown``, which act at once. What
each of them takes and gives is in `desk.Desk`.
"""
