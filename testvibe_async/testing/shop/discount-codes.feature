Feature: Discount codes
  Codes take something off the price of a cart.

  Background:
    Given the cart holds goods for 100.00 €

  Scenario: Code lowers the total
    When the customer enters the code "ROADRUNNER10"
    Then the total is 90.00 €

  Scenario: Unknown code is refused
    When the customer enters the code "COYOTE"
    Then the message "We don't know this code." is shown

  Scenario: Code is removed
    Given the code "ROADRUNNER10" is in use
    When the customer removes it
    Then the total is 100.00 €

  @skip
  Scenario: Two codes are combined
    When the customer enters the codes "ROADRUNNER10" and "ANVIL5"
    Then the total is 85.50 €
