"""What each kind of client needs to trust an authority that is a file: data for `appliance cert trust`."""

from dataclasses import dataclass

FILE = "appliance-ca.pem"
_HERE = f"$PWD/{FILE}"


@dataclass(frozen=True, slots=True)
class Recipe:
    """One kind of client.

    Attributes:
        client: in words.
        text: what to paste, or to do.
        note: what to know about it.
    """

    client: str
    text: str
    note: str = ""


def recipes(url: str) -> list[Recipe]:
    """All of them, what is good for a whole machine first; `url` is the server's root."""
    return [
        Recipe(
            "Debian, Ubuntu: the whole machine",
            f"sudo cp {FILE} /usr/local/share/ca-certificates/appliance.crt && sudo update-ca-certificates",
            "Python's certifi and Node have lists of their own: see below.",
        ),
        Recipe(
            "Fedora, RHEL, Rocky: the whole machine",
            f"sudo cp {FILE} /etc/pki/ca-trust/source/anchors/ && sudo update-ca-trust",
        ),
        Recipe(
            "macOS: the whole machine",
            f"sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {FILE}",
        ),
        Recipe("Windows: the whole machine, as administrator", f"certutil -addstore -f Root {FILE}"),
        Recipe(
            "Python with httpx: the SDKs of OpenAI and Anthropic, LangChain",
            f'export SSL_CERT_FILE="{_HERE}"',
            "It stands in for all public authorities. A program that talks to others, too, needs one file with both:\n"
            f"    cat /etc/ssl/certs/ca-certificates.crt {FILE} > all-ca.pem",
        ),
        Recipe(
            "Python with requests",
            f'export REQUESTS_CA_BUNDLE="{_HERE}"',
            "It stands in for all public authorities, too.",
        ),
        Recipe(
            "Node: the SDKs of OpenAI and Anthropic, Vercel's AI SDK, Claude Code",
            f'export NODE_EXTRA_CA_CERTS="{_HERE}"',
            "Public authorities stay trusted.",
        ),
        Recipe("curl", f"curl --cacert {FILE} {url}/healthz"),
        Recipe(
            "Java",
            f"keytool -importcert -noprompt -cacerts -storepass changeit -alias appliance -file {FILE}",
        ),
        Recipe(
            "Firefox",
            f"Settings → Privacy & Security → View Certificates → Authorities → Import… → {FILE}, for websites",
            "Chrome and Edge go by the machine; on Linux: chrome://certificate-manager → Custom.",
        ),
    ]
