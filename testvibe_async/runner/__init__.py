"""What "run these features" means, for every surface.

It knows no terminal, no protocol and no test framework. Its modules are its doors, so that a
command loads what it needs alone:

- `spec`: what a batch is to do, as a value that is stored with it
- `selection`: which features and configurations are meant: names, ids, globs, exclusions, all
- `names`: what people mean by the names of projects and configurations
- `batches`: the batches of a folder, each with a number, and which of them a command means
- `generation_limit`: how many generations may be dispatched, enforced where each is sent
"""
