Feature: Product page
  All that there is to know about one product.

  Scenario: Price and stock are shown
    When the page of "Earthquake pills" is opened
    Then the price is 24.50 €
    And "In stock" is shown

  Scenario: Picture is enlarged
    Given the page of "Earthquake pills" is open
    When the customer clicks the picture
    Then the picture fills the window

  Scenario: Sold-out product can't be bought
    When the page of "Invisible paint" is opened
    Then "Sold out" is shown
    And the button "Add to cart" is disabled
