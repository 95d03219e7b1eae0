"""How much of a fragile upstream's best a fleet gets through each peer, untuned and told the right limit.

``upstreams`` lists what breaks and how, ``peers`` and ``configs`` what stands between, ``arms`` runs one of each with
the lab's server and eight endless pods (``pod``), ``figures`` makes a record into numbers beside the reference's, and
``report`` prints them. ``dns`` and ``named`` give Sidegate a host name with four addresses. docs/goodput.md explains.
"""
