"""What the black-box tests share: the server as a process, spans to push, an S3 server, a faulty network."""
