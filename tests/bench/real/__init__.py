"""Servers that nobody here tuned the learner to, in real processes: the best fixed limit, and Sidegate untuned.

``upstreams`` lists them with their bars. ``sites`` starts them: nginx, gunicorn with ``app`` and PostgreSQL
(``database``), or ``away``, which goes away for a second now and then. ``arms`` runs one of each with eight sidecars and
the lab's pods (or ``reader``, which reads slowly), and ``report`` prints the table. docs/real.md explains.
"""
