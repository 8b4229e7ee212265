Feature: Password reset
  Back into the account without the old password.

  Scenario: Link is sent
    Given "ada@acme.example" has an account
    When she asks for a new password
    Then a link is sent to "ada@acme.example"

  Scenario: New password works
    Given she has opened the link
    When she chooses a new password
    Then she can sign in with it
    And the old password is refused

  Scenario: Link works once only
    Given she has used the link
    When she opens it again
    Then the message "This link is no longer valid." is shown
