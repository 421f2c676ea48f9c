"""make deploy, make rollback: bring an environment on Kubernetes to the manifests of a commit.

The order: checks, the difference, migrations, apply, rollout. If the rollout fails, the manifests of the release
before are applied again. Each good release is kept in the cluster, so that going back needs no checkout.

cluster   kubectl: render, get, apply, diff
checks    what must be true before anything is changed
rollout   migrations, apply, waiting, and undoing
history   the releases that are kept in the namespace, and removing what no release needs
"""
