"""What a call costs: Sidegate beside nginx, HAProxy and Envoy, on one core each, in one run.

Figures of one machine and one run are compared as ratios; a figure on its own says little.
``__main__`` is the command, ``peers`` and ``configs`` are what is compared, ``origin`` stands behind them,
``load`` drives wrk, and ``report`` turns measurements into a table.
"""
