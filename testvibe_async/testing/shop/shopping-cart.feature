Feature: Shopping cart
  What customers have chosen, until they buy it.

  Background:
    Given the cart is empty

  Scenario: Product is added to the cart
    When the customer adds "Rocket skates" to the cart
    Then the cart holds 1 product
    And its total is 129.00 €

  Scenario: Quantity is changed
    Given the cart holds 1 "Rocket skates"
    When the customer changes the quantity to 3
    Then the total is 387.00 €

  Scenario: Last product is removed
    Given the cart holds 1 "Rocket skates"
    When the customer removes it
    Then the message "Your cart is empty." is shown

  Scenario: Cart survives a reload
    Given the cart holds 1 "Rocket skates"
    When the page is loaded again
    Then the cart holds 1 product
