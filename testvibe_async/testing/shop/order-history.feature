Feature: Order history
  Customers look up what they have bought.

  Background:
    Given "ada@acme.example" has 12 orders
    And she is signed in

  Scenario: Newest order comes first
    When she opens her orders
    Then the first order is from today

  Scenario: Older orders are on the next page
    Given her orders are open
    When she opens the next page
    Then 2 orders are shown

  Scenario: Invoice is downloaded
    Given her orders are open
    When she downloads the invoice of the first one
    Then a PDF file is saved

  Scenario: Order is bought again
    Given her orders are open
    When she buys the first one again
    Then the cart holds its products
