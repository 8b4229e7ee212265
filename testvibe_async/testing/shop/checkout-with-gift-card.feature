Feature: Checkout with gift card
  Gift cards pay for all of an order, or for a part of it.

  Background:
    Given the cart holds goods for 60.00 €

  Scenario: Gift card covers the whole order
    When the customer redeems a gift card of 100.00 €
    Then nothing is left to pay
    And the gift card keeps 40.00 €

  Scenario: Gift card covers a part of the order
    When the customer redeems a gift card of 25.00 €
    Then 35.00 € are left to pay by card

  Scenario: Expired gift card is refused
    When the customer redeems a gift card that expired yesterday
    Then the message "This gift card has expired." is shown
    And 60.00 € are left to pay
