"""The Kubernetes side: a pod in, a JSON Patch out. Pure values; the command and the webhook are thin around it.

options.py      what the operator decided: the sidecar's configuration, its image, how calls are captured, per service
overrides.py    what a pod's annotations change of that
eligible.py     which pods get a sidecar, and why not
container.py    the sidecar's container
ports.py        whether the sidecar's ports can be in the pod
capture.py      how the app's calls reach it
pod.py          one pod's outcome, from the four above
manifests.py    YAML in, YAML out, for `sidegate inject`
review.py       AdmissionReview in, AdmissionReview out
server.py       the webhook, `sidegate injector`
"""
