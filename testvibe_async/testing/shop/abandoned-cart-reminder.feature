Feature: Abandoned cart reminder
  Customers who leave a full cart hear from us once.

  Scenario: Reminder is sent after a day
    Given "ada@acme.example" left a cart 24 hours ago
    When the reminders are sent
    Then she gets one e-mail with a link to her cart

  Scenario: Reminder is sent once only
    Given she has got a reminder for her cart
    When the reminders are sent
    Then she gets no e-mail
