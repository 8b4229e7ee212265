Feature: Address book
  Several addresses for one customer.

  Background:
    Given "ada@acme.example" is signed in

  Scenario: Address is added
    When she adds the address "1 Desert Road, Tucson"
    Then her address book holds 2 addresses

  Scenario: Postal code is checked
    When she adds an address with the postal code "ABC"
    Then the hint "This is not a postal code." is shown

  Scenario: Default address is changed
    Given her address book holds 2 addresses
    When she makes the second one the default
    Then the checkout offers the second one first
