"""Fleets and upstreams in virtual time: what decides is the product's own code."""
