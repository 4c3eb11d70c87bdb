"""How words get onto the kernel's command line, on this distribution."""

from __future__ import annotations

from vswitchd.doctor.host import Host


def words(host: Host, text: str) -> str:
    """Return the command, or the edit and the commands, that add `text` to the kernel's command line."""
    if host.exists("/usr/sbin/grubby"):
        return f'grubby --update-kernel=ALL --args="{text}"; reboot'
    if host.exists("/etc/default/grub"):
        update = (
            "update-grub"
            if host.exists("/usr/sbin/update-grub")
            else "grub2-mkconfig -o /boot/grub2/grub.cfg"
        )
        return f"GRUB_CMDLINE_LINUX in /etc/default/grub: add {text}; {update}; reboot"
    if host.exists("/etc/kernel/cmdline"):
        return f"/etc/kernel/cmdline: add {text}; kernel-install add-all; reboot"
    return f"the kernel's command line, where the boot loader has it: add {text}; reboot"
