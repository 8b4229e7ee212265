Feature: Wishlist
  Products to come back to.

  Background:
    Given "ada@acme.example" is signed in

  Scenario: Product is remembered
    When she marks "Jet-propelled unicycle" with a heart
    Then her wishlist holds "Jet-propelled unicycle"

  Scenario: Product moves to the cart
    Given her wishlist holds "Jet-propelled unicycle"
    When she moves it to the cart
    Then the cart holds 1 product
    And her wishlist is empty
