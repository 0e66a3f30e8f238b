"""A throw-away certification authority: EC P-256, domain in the SAN, serverAuth and clientAuth."""

import pathlib

from .processes import command

DAYS = "30"


class Authority:
    """A CA in `folder`; `certificate` is what clients are to trust."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.certificate = folder / "ca.pem"
        self._key = folder / "ca.key"
        folder.mkdir(parents=True)
        command(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-keyout", self._key, "-out", self.certificate, "-days", DAYS, "-subj", "/CN=Interop throw-away CA",
                 "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"])

    def issue(self, domain: str, folder: pathlib.Path) -> None:
        """Writes `folder/<domain>/fullchain.pem` and `privkey.pem`, good for the domain and its components."""
        target = folder / domain
        target.mkdir(parents=True)
        request, extensions = target / "request.pem", target / "extensions.cnf"
        command(["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-keyout", target / "privkey.pem", "-out", request, "-subj", f"/CN={domain}"])
        extensions.write_text(f"subjectAltName=DNS:{domain},DNS:*.{domain}\nbasicConstraints=CA:FALSE\n"
                              "keyUsage=digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n")
        command(["openssl", "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key,
                 "-CAcreateserial", "-days", DAYS, "-extfile", extensions, "-out", target / "certificate.pem"])
        chain = (target / "certificate.pem").read_text() + self.certificate.read_text()
        (target / "fullchain.pem").write_text(chain)
        for leftover in (request, extensions, target / "certificate.pem"):
            leftover.unlink()
