"""Writes certificates into a folder: an authority, and a server's and a client's of it; and another authority.

The files are ca.pem, server.pem, server.key, client.pem, client.key and other.pem.
"""

import datetime
import ipaddress
import pathlib
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

FOLDER = pathlib.Path(sys.argv[1])
NOW = datetime.datetime.now(datetime.timezone.utc)


def made(name, issuer=None, hosts=()):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - datetime.timedelta(days=1))
        .not_valid_after(NOW + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if hosts:
        names = [x509.DNSName("localhost"), *(x509.IPAddress(ipaddress.ip_address(host)) for host in hosts)]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(issuer[1] if issuer else key, hashes.SHA256())
    return certificate, key


def write(name, pair, with_key=False):
    certificate, key = pair
    (FOLDER / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    if with_key:
        plain = serialization.NoEncryption()
        form = serialization.PrivateFormat.PKCS8
        (FOLDER / f"{name}.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))


authority = made("Sightglass test authority")
write("ca", authority)
write("other", made("Another authority"))
write("server", made("broker", authority, ["127.0.0.1"]), with_key=True)
write("client", made("sightglass", authority), with_key=True)
