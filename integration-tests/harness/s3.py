"""A real S3 server (moto) as a child process."""
import itertools
import json
import sys

import boto3
import botocore.config
import requests

from . import bucket
from .ports import free_ports
from .program import Program

ACCESS_KEY, SECRET_KEY, REGION = "test-access-key", "test-secret-key", "us-east-1"


class Bucket(bucket.Bucket):
    """One bucket, seen with the AWS SDK."""

    def __init__(self, server, name):
        self.server, self.name = server, name
        self.client = boto3.client(
            "s3", endpoint_url=server.url, region_name=REGION,
            aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY, verify=server.trusted,
            config=botocore.config.Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}))
        self.client.create_bucket(Bucket=name)

    def keys(self, prefix=""):
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return sorted(item["Key"] for page in pages for item in page.get("Contents", []))

    def put(self, key, body):
        self.client.put_object(Bucket=self.name, Key=key, Body=body)

    def get(self, key):
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def config(self, port=None, **extra):
        """The server's storage section for this bucket, through another port if one is given."""
        return {"storage": {"trace": {"backend": "s3", "s3": {
            "bucket": self.name, "endpoint": f"127.0.0.1:{port or self.server.port}", "region": REGION,
            "access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "insecure": self.server.tls is None, "forcepathstyle": True, **extra,
        }}}}


class S3(Program):
    """The server process; `new_bucket` for each test. With `tls` it has a certificate that `self.tls.authority` signed."""

    title = "the S3 server"
    numbers = itertools.count(1)

    def __init__(self, directory, tls=None):
        super().__init__(directory / "s3.log")
        self.tls = tls
        (self.port,) = free_ports(1)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.trusted = str(tls.authority) if tls else True

    def start(self):
        self.run([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port),
                  *(["-c", str(self.tls.certificate), "-k", str(self.tls.key)] if self.tls else [])])
        self.until(lambda: requests.get(self.url, timeout=5, verify=self.trusted).status_code < 500, "the S3 server answers")
        return self

    def new_bucket(self):
        return Bucket(self, f"traces-{next(self.numbers)}")

    def demand_credentials(self, wanted):
        """Whether only known users are let in, of which there are none; at first everybody is."""
        count = b"0" if wanted else b"inf"
        requests.post(self.url + "/moto-api/reset-auth", data=count, timeout=10).raise_for_status()

    def new_user(self):
        """Access key and secret of a user who may do everything with S3."""
        iam = boto3.client(
            "iam", endpoint_url=self.url, region_name=REGION, aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY)
        name = f"user-{next(self.numbers)}"
        iam.create_user(UserName=name)
        allow = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
        iam.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=json.dumps(allow))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return key["AccessKeyId"], key["SecretAccessKey"]
