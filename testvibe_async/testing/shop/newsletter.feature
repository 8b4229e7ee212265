Feature: Newsletter
  News by e-mail, for those who ask for it.

  Scenario: Visitor subscribes
    When he enters "wile@acme.example" below "Newsletter"
    Then a message asks him to confirm his e-mail address

  Scenario: Subscriber leaves
    Given "wile@acme.example" has subscribed
    When he follows the link "Unsubscribe"
    Then the message "You will hear no more from us." is shown
