"""Real pods under podman and a real one-node Kubernetes: root only, minutes, run by ``make test-cluster``."""
