Feature: Product reviews
  What buyers say.

  Scenario: Buyer writes a review
    Given "ada@acme.example" has bought "Dehydrated boulders"
    When she rates them with 4 stars
    Then her review waits for approval

  Scenario: Visitor can't write a review
    When a visitor opens the page of "Dehydrated boulders"
    Then "Sign in to write a review" is shown

  Scenario: Average is shown
    Given "Dehydrated boulders" has ratings of 3 and 5 stars
    When their page is opened
    Then the average of 4.0 stars is shown
