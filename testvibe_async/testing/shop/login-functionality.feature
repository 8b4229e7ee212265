Feature: Login Functionality
  Customers sign in to see their orders and to check out faster.

  Background:
    Given the customer "ada@acme.example" has an account
    And the sign-in page is open

  Scenario: Valid user signs in
    When she signs in with her password
    Then she sees her account page
    And the header greets her by name

  Scenario: Wrong password is refused
    When she signs in with the password "not-mine"
    Then she sees the message "E-mail or password is wrong."
    And she is still on the sign-in page

  Scenario: Locked-out user sees an error
    Given she has failed to sign in 5 times
    When she signs in with her password
    Then she sees the message "Your account is locked for 15 minutes."
