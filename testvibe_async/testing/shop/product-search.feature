Feature: Product search
  Finding a product by what customers call it.

  Scenario: Exact name comes first
    When the customer searches for "Giant rubber band"
    Then the first result is "Giant rubber band"

  Scenario: Typing error is forgiven
    When the customer searches for "giant ruber band"
    Then the results hold "Giant rubber band"

  Scenario: Nothing is found
    When the customer searches for "unicorn"
    Then the message "We found nothing for “unicorn”." is shown
    And popular products are suggested

  Scenario: Results are filtered by price
    Given the customer has searched for "magnet"
    When the highest price is set to 50 €
    Then no result costs more than 50 €

  Scenario: Results are sorted by price
    Given the customer has searched for "magnet"
    When the results are sorted by "Price, lowest first"
    Then each result costs at least as much as the one before
