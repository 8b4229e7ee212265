Feature: Store locator
  The way to the nearest shop.

  Scenario: Nearest store is found
    When the visitor searches for "Tucson"
    Then the first store is "Acme Tucson"

  Scenario: Opening hours are shown
    Given the page of "Acme Tucson" is open
    When today is a Sunday
    Then "Closed today" is shown
