"""Certificates for loopback servers."""
import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Certificates:
    """An authority and a certificate for 127.0.0.1 that it signed, as PEM files in `directory`."""

    def __init__(self, directory):
        self.authority, self.certificate, self.key = (directory / f"{name}.pem" for name in ("ca", "cert", "key"))
        ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        ca_name = _name("Test authority")
        constraints = (x509.BasicConstraints(ca=True, path_length=None), True)
        ca = _builder(ca_name, ca_name, ca_key).add_extension(*constraints).sign(ca_key, hashes.SHA256())
        certificate = _builder(_name("127.0.0.1"), ca_name, key).add_extension(_loopback(), False).sign(ca_key, hashes.SHA256())
        _write(self.authority, ca)
        _write(self.certificate, certificate)
        _write_key(self.key, key)


class SelfSigned:
    """A certificate for 127.0.0.1 that is its own authority, as many object stores are set up with."""

    def __init__(self, directory):
        self.authority = self.certificate = directory / "self-signed.pem"
        self.key = directory / "self-signed-key.pem"
        key, name = ec.generate_private_key(ec.SECP256R1()), _name("127.0.0.1")
        constraints = (x509.BasicConstraints(ca=True, path_length=None), True)
        builder = _builder(name, name, key).add_extension(*constraints).add_extension(_loopback(), False)
        _write(self.certificate, builder.sign(key, hashes.SHA256()))
        _write_key(self.key, key)


def _write(path, certificate):
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _write_key(path, key):
    path.write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


def _loopback():
    return x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject, issuer, key):
    now, day = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=1)
    return (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - day).not_valid_after(now + day))
