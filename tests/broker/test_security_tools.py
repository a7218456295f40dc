"""Apache Kafka's own tools against a secured embedded broker: rights, credentials, and clients that have them."""

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def tool(kafka_tool, secured, tmp_path):
    """tool(name, user, argument, ...): over TLS, by SCRAM."""

    def run(name, user, *arguments, password=None, **options):
        settings = secured.java(tmp_path, "SASL_SSL", "SCRAM-SHA-512", user, password)
        return kafka_tool(name, "--bootstrap-server", secured.addresses["SASL_SSL"], "--command-config", settings,
                          *arguments, **options)

    return run


def test_acls(tool, topic, group):
    tool("topics", "root", "--create", "--topic", topic)
    assert topic not in tool("topics", "ann", "--list").split()
    tool("acls", "root", "--add", "--allow-principal", "User:ann", "--producer", "--topic", topic)
    tool("acls", "root", "--add", "--allow-principal", "User:ann", "--consumer", "--topic", topic, "--group", group)
    listed = tool("acls", "root", "--list", "--topic", topic)
    assert "principal=User:ann" in listed and "operation=WRITE" in listed and "permissionType=ALLOW" in listed
    tool("console-producer", "ann", "--topic", topic, text="a\nb\n")
    out = tool("console-consumer", "ann", "--topic", topic, "--group", group, "--from-beginning",
               "--max-messages", "2", "--timeout-ms", "60000")
    assert out.split() == ["a", "b"]
    tool("acls", "root", "--remove", "--allow-principal", "User:ann", "--operation", "Read", "--topic", topic,
         "--force")
    assert "operation=READ" not in tool("acls", "root", "--list", "--topic", topic)
    refused = tool("acls", "ann", "--list", "--topic", topic, check=False)
    assert "ClusterAuthorizationException" in refused and "principal=User:ann" not in refused


def test_prefixed_and_denying_rules(tool, topic):
    tool("acls", "root", "--add", "--allow-principal", "User:bob", "--operation", "All", "--topic", topic[:9],
         "--resource-pattern-type", "prefixed")
    tool("acls", "root", "--add", "--deny-principal", "User:bob", "--deny-host", "127.0.0.1", "--operation", "Delete",
         "--topic", topic)
    tool("topics", "bob", "--create", "--topic", topic)
    assert topic in tool("topics", "bob", "--list").split()
    assert "Topic authorization failed" in tool("topics", "bob", "--delete", "--topic", topic, check=False)
    assert topic in tool("topics", "bob", "--list").split()
    matching = tool("acls", "root", "--list", "--topic", topic, "--resource-pattern-type", "match")
    assert "PREFIXED" in matching and "DENY" in matching


def test_scram_credentials(tool, topic):
    password = "dora's new password"
    tool("configs", "root", "--alter", "--entity-type", "users", "--entity-name", "dora",
         "--add-config", f"SCRAM-SHA-512=[iterations=8192,password={password}]")
    described = tool("configs", "root", "--describe", "--entity-type", "users", "--entity-name", "dora")
    assert "SCRAM-SHA-512=iterations=8192" in described
    tool("acls", "root", "--add", "--allow-principal", "User:dora", "--operation", "Create", "--topic", topic)
    tool("topics", "dora", "--create", "--topic", topic, password=password)
    assert topic in tool("topics", "root", "--list").split()
    tool("configs", "root", "--alter", "--entity-type", "users", "--entity-name", "dora",
         "--delete-config", "SCRAM-SHA-512")
    described = tool("configs", "root", "--describe", "--entity-type", "users", "--entity-name", "dora", check=False)
    assert described == ""
