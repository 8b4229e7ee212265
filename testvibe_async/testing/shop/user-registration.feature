Feature: User registration
  New customers make an account.

  Background:
    Given the registration page is open

  Scenario: Visitor registers
    When he registers as "wile@acme.example"
    Then a message asks him to confirm his e-mail address

  Scenario: E-mail address is taken
    Given "ada@acme.example" has an account
    When he registers as "ada@acme.example"
    Then the message "There is already an account for this address." is shown

  Scenario Outline: Weak password is refused
    When he chooses the password "<password>"
    Then the hint "<hint>" is shown

    Examples:
      | password | hint                          |
      | anvil    | Use at least 12 characters.   |
      | 12345678 | Use at least 12 characters.   |
