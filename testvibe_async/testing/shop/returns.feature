Feature: Returns
  Goods go back within 30 days.

  Scenario: Order is returned
    Given an order was delivered 5 days ago
    When the customer returns one product
    Then a return label is shown

  Scenario: Return comes too late
    Given an order was delivered 31 days ago
    When the customer opens it
    Then "Return" is not offered

  Scenario: Refund is shown
    Given a return has arrived
    When the customer opens the order
    Then the refund of 129.00 € is shown
