"""TLS to controllers: passive and active, certificates on both sides."""

import asyncio
import datetime as dt
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from of_world import Controller, world

from vswitchd.ofproto import messages as m
from vswitchd.ofproto.endpoint import ControllerConfig
from vswitchd.ofproto.tls import SslConfig


def _pem(tmp_path, name, signer=None):
    """A key and certificate signed by `signer` (key, certificate) or by itself; their paths and the pair."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    then = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    issuer_key, issuer = (key, subject) if signer is None else (signer[0], signer[1].subject)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(then)
    builder = builder.not_valid_after(then.replace(year=2120))
    builder = builder.add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
    cert = builder.sign(issuer_key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    (tmp_path / f"{name}.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    (tmp_path / f"{name}.pem").write_bytes(cert.public_bytes(pem))
    return key, cert


async def _tls(w, tmp_path):
    target = "pssl:0:127.0.0.1"
    w.of.set_controllers([ControllerConfig(target)])
    assert "SSL is not configured" in w.status(target).last_error
    files = [str(tmp_path / name) for name in ("sw.key", "sw.pem", "ca.pem")]
    w.of.set_ssl(SslConfig(*files[:2], str(tmp_path / "missing")))
    w.clock.now += 6
    w.of.tick()
    assert "missing: cannot use the CA certificate (No such file or directory)" in w.status(target).last_error
    w.of.set_ssl(SslConfig(*files))
    w.clock.now += 6
    w.of.tick()
    assert w.status(target).last_error is None
    number = w.of.endpoint(target).port
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    context.check_hostname = False
    bare = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    bare.check_hostname = False
    context.load_cert_chain(tmp_path / "ctl.pem", tmp_path / "ctl.key")
    c = Controller(*await asyncio.open_connection("127.0.0.1", number, ssl=context))
    await c.greet()
    assert (await c.ask(m.FeaturesRequest())).datapath_id == 7
    with pytest.raises((ssl.SSLError, asyncio.IncompleteReadError, ConnectionError)):
        await Controller(*await asyncio.open_connection("127.0.0.1", number, ssl=bare)).greet()
    await c.close()
    # and actively
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(tmp_path / "ctl.pem", tmp_path / "ctl.key")
    server_side.load_verify_locations(tmp_path / "ca.pem")
    server_side.verify_mode = ssl.CERT_REQUIRED

    async def take(reader, writer):
        await w.arrived.put(Controller(reader, writer))

    server = await asyncio.start_server(take, "127.0.0.1", 0, ssl=server_side)
    w.servers.append(server)
    w.of.set_controllers([ControllerConfig(f"ssl:127.0.0.1:{server.sockets[0].getsockname()[1]}")])
    c = await w.next()
    assert (await c.ask(m.FeaturesRequest())).datapath_id == 7


def test_tls_with_certificates_on_both_sides(tmp_path):
    ca = _pem(tmp_path, "ca")
    _pem(tmp_path, "sw", ca)
    _pem(tmp_path, "ctl", ca)

    async def both(w):
        await _tls(w, tmp_path)

    world(both)(tmp_path)


@pytest.fixture
def certificates(tmp_path):
    """Files of a switch, a controller, and a stranger of another CA."""
    ca, other = _pem(tmp_path, "ca"), _pem(tmp_path, "otherca")
    _pem(tmp_path, "sw", ca)
    _pem(tmp_path, "ctl", ca)
    _pem(tmp_path, "stranger", other)
    return tmp_path


def _ours(files):
    return SslConfig(*(str(files / name) for name in ("sw.key", "sw.pem", "ca.pem")))


def _client(files, name=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if name is not None:
        context.load_cert_chain(files / f"{name}.pem", files / f"{name}.key")
    return context


async def _refused(number, context):
    """Connect, and be put out."""
    try:
        c = Controller(*await asyncio.open_connection("127.0.0.1", number, ssl=context))
        c.writer.write(bytes(8))
        await c.eof()
    except (ssl.SSLError, ConnectionError):
        pass


def test_wrong_certificates_are_refused_with_one_line_each_and_take_no_place(
    certificates, caplog, monkeypatch
):
    monkeypatch.setattr("vswitchd.ofproto.listener.MAX_PEERS", 3)

    async def main(w):
        target = "pssl:0:127.0.0.1"
        w.of.set_ssl(_ours(certificates))
        w.of.set_controllers([ControllerConfig(target)])
        number = w.of.endpoint(target).port
        for name, why in (
            ("stranger", "CERTIFICATE_VERIFY_FAILED"),
            (None, "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
        ):
            for _ in range(4):
                caplog.clear()
                await _refused(number, _client(certificates, name))
                await w.until(lambda: caplog.records)
                (line,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
                assert line.startswith(f"{target}: 127.0.0.1:")
                assert why in line
                assert why in w.status(target).last_error
        caplog.clear()
        await _refused(number, None)  # no TLS at all
        await w.until(lambda: caplog.records)
        assert "TLS handshake failed" in w.status(target).last_error
        c = Controller(*await asyncio.open_connection("127.0.0.1", number, ssl=_client(certificates, "ctl")))
        await c.greet()
        assert w.status(target).is_connected

    world(main)(certificates)


def test_handshakes_that_are_not_ended_are_few_and_short(certificates, monkeypatch):
    monkeypatch.setattr("vswitchd.ofproto.listener.MAX_HANDSHAKES", 2)
    monkeypatch.setattr("vswitchd.ofproto.listener.HANDSHAKE_SECONDS", 0.2)

    async def main(w):
        target = "pssl:0:127.0.0.1"
        w.of.set_ssl(_ours(certificates))
        w.of.set_controllers([ControllerConfig(target)])
        number = w.of.endpoint(target).port
        silent = [Controller(*await asyncio.open_connection("127.0.0.1", number)) for _ in range(3)]
        for c in silent:
            assert await c.eof() == b""
        c = Controller(*await asyncio.open_connection("127.0.0.1", number, ssl=_client(certificates, "ctl")))
        await c.greet()

    world(main)(certificates)


@pytest.mark.parametrize(("name", "why"), [("stranger", "CERTIFICATE_VERIFY_FAILED"), ("ctl", None)])
def test_a_controller_with_a_wrong_certificate_is_not_spoken_to(certificates, name, why):
    async def main(w):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")

        async def take(reader, writer):
            await w.arrived.put(Controller(reader, writer))

        server = await asyncio.start_server(take, "127.0.0.1", 0, ssl=context)
        w.servers.append(server)
        target = f"ssl:127.0.0.1:{server.sockets[0].getsockname()[1]}"
        w.of.set_ssl(_ours(certificates))
        w.of.set_controllers([ControllerConfig(target)])
        if why is None:
            await w.next()
            return
        await w.until(lambda: w.status(target).last_error is not None)
        assert why in w.status(target).last_error
        assert not w.status(target).is_connected
        assert w.arrived.empty()

    world(main)(certificates)
