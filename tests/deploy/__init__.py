"""What deployments are made of fits the program: Compose and Kubernetes."""
