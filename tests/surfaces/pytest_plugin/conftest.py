"""Fixtures of the tests of the plugin: a service in a thread, and pytest inside pytest."""

from tests.support.inner_pytest import inner, service, service_options

__all__ = ["inner", "service", "service_options"]
