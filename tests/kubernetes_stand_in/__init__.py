"""A Kubernetes of one node, for tests: its API server speaks HTTP, watch and websocket exec, its
pods are local processes in namespaces of their own. `stand_in.kubernetes_stand_in` begins one.
"""
