"""The lab: a fragile upstream, eight pods that pull from it, with and without Sidegate.

``models`` decide how a request ends (pure: ``now`` and a seeded rng come in, a decision goes out), ``server``
acts that out on sockets, ``pod`` is the application, ``arms`` runs one side of the comparison in real
processes and ``report`` prints it. Start reading at ``model``.
"""
