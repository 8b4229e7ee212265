Feature: Checkout
  From a full cart to a confirmed order.

  Background:
    Given the cart holds 2 "Anvil, 10 kg"

  Scenario: Guest checks out with a card
    When the guest enters a delivery address
    And pays with the card "4242 4242 4242 4242"
    Then an order number is shown
    And a confirmation is sent by e-mail

  Scenario: Signed-in customer uses the saved address
    Given "ada@acme.example" is signed in
    When she opens the checkout
    Then her saved address is chosen

  Scenario: Declined card keeps the cart
    When the guest pays with the card "4000 0000 0000 0002"
    Then the message "Your card was declined." is shown
    And the cart still holds 2 "Anvil, 10 kg"

  Scenario Outline: Delivery costs depend on the country
    When the delivery country is "<country>"
    Then the delivery costs are <costs>

    Examples:
      | country | costs   |
      | Austria | 4.90 €  |
      | Norway  | 19.90 € |
