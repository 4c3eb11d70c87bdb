"""A load generator of our own: a vhost-user front end in C, and its Python face."""
