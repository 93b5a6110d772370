"""What tests ask of a bucket, whatever store it is in."""
import json


class Bucket:
    """One bucket seen by other means than the server's: subclasses list, read and write it."""

    def keys(self, prefix=""):
        raise NotImplementedError

    def put(self, key, body):
        raise NotImplementedError

    def get(self, key):
        raise NotImplementedError

    def config(self, port=None, **extra):
        """The server's storage section for this bucket, through another port if one is given."""
        raise NotImplementedError

    def blocks(self, tenant="single-tenant"):
        """Ids of the complete blocks: those with a meta.json."""
        return [key.split("/")[-2] for key in self.keys() if key.endswith("/meta.json") and f"{tenant}/" in key]

    def metas(self, tenant="single-tenant"):
        """The metas of the complete blocks."""
        keys = [key for key in self.keys() if key.endswith("/meta.json") and f"{tenant}/" in key]
        return [json.loads(self.get(key)) for key in keys]
