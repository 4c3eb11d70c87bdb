"""The options of a port: what each makes of the offer and the socket, and that every mistake is named."""

import grp
import os
import pwd

import pytest

from vswitchd.datapath.dp import lib
from vswitchd.ports.base import PortConfig, PortError
from vswitchd.ports.vhostuser import features, options, state
from vswitchd.ports.vhostuser.features import DEFAULT, OPT_IN, Offer, Protocol, Virtio
from vswitchd.ports.vhostuser.options import CLIENT, SERVER
from vswitchd.ports.vhostuser.socket_file import Access


def read(tmp_path, type_=SERVER, name="vh0", **how):
    how = {key.replace("_", "-"): value for key, value in how.items()}
    return options.read(PortConfig(name, type_, how), tmp_path)


def refusal(tmp_path, type_=SERVER, **how):
    with pytest.raises(PortError) as caught:
        read(tmp_path, type_, **how)
    text = str(caught.value)
    assert text.startswith("port vh0: ")
    assert "\n" not in text
    return text.removeprefix("port vh0: ")


def test_defaults(tmp_path):
    asked = read(tmp_path)
    assert asked == options.Options(address=str(tmp_path / "vh0"))
    assert asked.offer == DEFAULT
    assert asked.retries == lib.VS_VHOST_RETRIES
    assert DEFAULT.pairs == features.MAX_PAIRS == state.MAX_PAIRS == lib.VS_VHOST_PAIRS


def test_features_are_switched_off_with_what_needs_them(tmp_path):
    offer = read(tmp_path, features_off="ctrl_vq, in_order", protocol_features_off="RESET_DEVICE").offer
    gone = {Virtio.CTRL_VQ, Virtio.MQ, Virtio.CTRL_RX, Virtio.GUEST_ANNOUNCE, Virtio.IN_ORDER}
    assert not any(offer.has(bit) for bit in gone)
    assert offer.has(Virtio.MRG_RXBUF)
    assert DEFAULT.protocol & ~offer.protocol == 1 << Protocol.RESET_DEVICE


@pytest.mark.parametrize("bit", list(Virtio))
def test_every_device_feature_can_be_switched_off(tmp_path, bit):
    assert not read(tmp_path, features_off=bit.name.lower()).offer.has(bit)


@pytest.mark.parametrize("bit", list(Protocol))
def test_every_protocol_feature_can_be_switched_off(tmp_path, bit):
    assert not read(tmp_path, protocol_features_off=bit.name.lower()).offer.has(bit)


def test_unknown_features_are_named_with_those_that_exist(tmp_path):
    text = refusal(tmp_path, features_off="mq,ring-packed")
    assert text.startswith('options:features-off: there is no "ring-packed"; there are csum guest_csum ')
    assert "ring_packed" in text
    text = refusal(tmp_path, protocol_features_off="host_tso4")
    assert 'there is no "host_tso4"; there are mq log_shmfd' in text


def test_switches_of_open_vswitch(tmp_path, monkeypatch):
    extra = [Virtio.ACCESS_PLATFORM, Virtio.CSUM, Virtio.HOST_TSO4, Virtio.GUEST_CSUM, Virtio.GUEST_TSO4]
    normal = DEFAULT.plus([*extra, Protocol.BACKEND_REQ, Protocol.LOG_SHMFD]).without([Protocol.PAGEFAULT])
    monkeypatch.setattr(options, "DEFAULT", normal)
    monkeypatch.setattr(options, "SUPPORTED", normal.plus([Protocol.PAGEFAULT]))
    assert read(tmp_path).offer == normal
    assert read(tmp_path, vhost_iommu_support="true").offer == normal
    offer = read(tmp_path, vhost_iommu_support="false").offer
    assert not offer.has(Virtio.ACCESS_PLATFORM)
    offer = read(tmp_path, userspace_tso_enable="false").offer
    assert not offer.has(Virtio.HOST_TSO4)
    assert not offer.has(Virtio.GUEST_TSO4)
    assert offer.has(Virtio.CSUM)
    assert not normal.has(Protocol.PAGEFAULT)
    assert read(tmp_path, vhost_postcopy_support="true").offer.has(Protocol.PAGEFAULT)
    both = read(tmp_path, vhost_postcopy_support="true", protocol_features_off="pagefault").offer
    assert not both.has(Protocol.PAGEFAULT)


def test_what_is_not_offered_unasked_has_a_switch():
    """Nothing that the code can do is out of reach."""
    switched = {bit for bits in options.SWITCHES.values() for bit in bits if isinstance(bit, Protocol)}
    assert {bit for bit in Protocol if OPT_IN.has(bit)} <= switched
    assert OPT_IN.virtio == 0


def test_postcopy_is_never_offered_unasked():
    """A front-end that migrates by post-copy can stall a core for as long as it likes."""
    assert not DEFAULT.has(Protocol.PAGEFAULT)


def test_a_switch_for_what_the_code_cannot_do(tmp_path, monkeypatch):
    monkeypatch.setattr(options, "SUPPORTED", Offer(0, 0))
    assert "this switch cannot do that" in refusal(tmp_path, vhost_postcopy_support="true")


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("vhost-iommu-support", "yes", "is not true or false"),
        ("vhost-max-queue-pairs", "0", "is not a number from 1 to 64"),
        ("vhost-max-queue-pairs", "65", "is not a number from 1 to 64"),
        ("vhost-max-queue-pairs", "9" * 5000, "is not a number from 1 to 64"),
        ("tx-retries-max", "33", "is not a number from 0 to 32"),
        ("tx-retries-max", "-1", "is not a number from 0 to 32"),
        ("socket-mode", "0888", "is not an octal mode from 0 to 777, such as 0660"),
        ("socket-mode", "1777", "is not an octal mode from 0 to 777, such as 0660"),
        ("socket-mode", "", "is not an octal mode from 0 to 777, such as 0660"),
        ("vhost-socket", "vm1.sock", "is not an absolute path or @NAME"),
    ],
)
def test_bad_values(tmp_path, option, value, text):
    assert refusal(tmp_path, **{option: value}) == f"options:{option}={value} {text}"


@pytest.mark.parametrize("value", ["0", "0.01", "3601", "nan", "inf", "1e1", "-1", "", "1.", "\u0661"])
def test_bad_waits(tmp_path, value):
    text = refusal(tmp_path, CLIENT, vhost_server_path="/x", reconnect_max=value)
    assert text == f"options:reconnect-max={value} is not a number of seconds from 0.1 to 3600"


def test_good_numbers(tmp_path):
    asked = read(tmp_path, CLIENT, vhost_server_path="@vm1", reconnect_max="0.5", vhost_max_queue_pairs="2")
    assert (asked.address, asked.longest_wait, asked.offer.pairs) == ("@vm1", 0.5, 2)
    assert asked.offer == Offer(DEFAULT.virtio, DEFAULT.protocol, 2)
    assert read(tmp_path, vhost_socket="/run/vm1.sock").address == "/run/vm1.sock"
    assert read(tmp_path, name="a/b", vhost_socket="@a/b").address == "@a/b"


@pytest.mark.parametrize(("mode", "number"), [("0660", 0o660), ("660", 0o660), ("0o600", 0o600), ("0", 0)])
def test_modes(tmp_path, mode, number):
    assert read(tmp_path, socket_mode=mode).access == Access(mode=number)


def test_owner_and_group_by_name_or_number(tmp_path):
    me, ours = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    assert read(tmp_path, socket_owner=me, socket_group=ours).access == Access(
        None, os.geteuid(), os.getegid()
    )
    assert read(tmp_path, socket_owner="12345", socket_group="54321").access == Access(None, 12345, 54321)


def test_unknown_owner_and_group(tmp_path):
    assert refusal(tmp_path, socket_owner="no-such") == 'options:socket-owner: there is no user "no-such"'
    assert refusal(tmp_path, socket_group="no-such") == 'options:socket-group: there is no group "no-such"'
    assert "there is no user" in refusal(tmp_path, socket_owner="a\0b")
    assert "there is no user" in refusal(tmp_path, socket_owner="-1")


def test_options_of_the_other_mode_are_refused(tmp_path):
    text = refusal(tmp_path, CLIENT, vhost_server_path="/x", socket_mode="0660")
    assert text == "options:socket-mode is for ports of type dpdkvhostuser"
    assert refusal(tmp_path, reconnect_max="2") == (
        "options:reconnect-max is for ports of type dpdkvhostuserclient"
    )


def test_an_abstract_socket_has_no_mode(tmp_path):
    text = refusal(tmp_path, vhost_socket="@vm1", socket_group="0")
    assert text.startswith("options:socket-group does not go with the abstract socket @vm1")
