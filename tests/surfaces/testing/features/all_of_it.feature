# language: en
Examples: of no outline
  | a |
  | 1 |
@api
Feature: All of it
  Some text. Scenario: not this one
  Given no step either

  Background:
    Given a background

  Rule: First rule
    Given no step of a rule

    @slow @skip
    Scenario: Skipped
      Given a step
      And another
      But no more
      * a star
      | not | an example |
      """
      Scenario: quoted
      Scenario: and once more
      """

    Background:
      Given a background again

    Example: By its other name
      ```
      Scenario: quoted too
      """
      ```
      When it acts

    Scenario:
      Then it has no name

    Scenario Outline: <who> eats <count> of <what>
      Given <who> has <count>

      @some
      Examples: first
        | who | count |
        | Ann | 1     |

      Examples: second
        | count | who |
        | 2     | Bob | and a cell too many |
        | 3     |

    Scenario Template: Same each time
      Given <n>

      Scenarios:
        | n |
        | 1 |
        | 2 |

    Scenario Outline: Without rows
      Given <n>

      Examples:
        | n |
