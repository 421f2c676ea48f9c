"""The manifests for Kubernetes, and what reads them as a cluster would."""
