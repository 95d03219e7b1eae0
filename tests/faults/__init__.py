"""The fault matrix: what can go wrong at either end or in between, one row each, tried on the sidecar's process.

``rows`` holds the matrix, ``scene`` what a row is given, ``trial`` plays one and looks at what is counted and what is left
over. ``make faults`` plays all and prints the table; ``make test`` plays those that wait for no timeout.
"""
