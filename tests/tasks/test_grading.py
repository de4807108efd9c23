import pytest

from optbench.tasks.base import Example
from optbench.tasks.grading import grader, last_number, marked_number, same_number


def graded(grading, text, reference):
    found = grader(grading)(text, Example("x", "q", "s", reference, "data"))
    assert found.text == text
    assert found.format_error == (found.answer is None)
    assert not (found.correct and found.format_error)
    return found.answer, found.correct


@pytest.mark.parametrize(
    ("text", "answer", "correct"),
    [
        ("3 + 4 = 72 apples\n#### 72", "72", True),
        ("#### 5\nno, wait\n#### 72", "72", True),
        ("The answer is 72.", "72", True),
        ("the final answer is: $72", "72", True),
        ("#### 72.0", "72.0", True),
        ("#### $72 dollars", "72", True),
        ("72", "72", True),
        ("#### 7", "7", False),
        ("#### -72", "-72", False),
        ("#### 72 is wrong, 73", "72", True),
        ("12 + 60 = 72", None, False),
        ("#### ", None, False),
        ("#### none\n72", None, False),
        ("", None, False),
    ],
)
def test_number_reads_only_what_is_marked(text, answer, correct):
    assert graded("number", text, "72") == (answer, correct)


@pytest.mark.parametrize(
    ("text", "answer", "correct"),
    [
        ("7 + 8 = 15", "15", True),
        ("first 15, then 16", "16", False),
        ("from 3-15", "15", True),
        ("it is -15", "-15", False),
        ("so 15.", "15", True),
        ("15 apples", "15", True),
        ("no idea", None, False),
    ],
)
def test_last_number_takes_the_last_wherever_it_stands(text, answer, correct):
    assert graded("last_number", text, "15") == (answer, correct)


@pytest.mark.parametrize(
    ("text", "found"),
    [("costs 1,234.50 in all", "1,234.50"), ("a, 3, 4", "4"), ("3/4", "3/4"), ("1,2345", "2345"), ("x.5", ".5")],
)
def test_numbers_are_read_whole(text, found):
    assert last_number(text) == found


@pytest.mark.parametrize("answer", ["1200", "1,200", "1200.0", "$1,200", "1200.", "2400/2", " 1200 "])
def test_a_number_is_its_value(answer):
    assert same_number(answer, "1200")
    assert not same_number(answer, "1201")


@pytest.mark.parametrize("answer", ["12oo", "", "1/0", "nan", "inf"])
def test_what_is_no_number_equals_none(answer):
    assert not same_number(answer, "1200")


@pytest.mark.parametrize(
    ("text", "answer", "correct"),
    [
        ("so\n#### B", "B", True),
        ("B", "B", True),
        ("#### b", "b", False),
        ("so B", "so B", False),
        (" \n", None, False),
    ],
)
def test_exact_compares_letter_by_letter(text, answer, correct):
    assert graded("exact", text, "B") == (answer, correct)


@pytest.mark.parametrize(
    ("text", "reference", "correct"),
    [
        (r"so it is $\frac{1}{2}$", "0.5", True),
        (r"\boxed{x^2+2x+1}", "$(x+1)^2$", True),
        ("7 + 8 = 15", "15", True),
        ("#### 72", "72", True),
        ("The answer is 1,234", "1234", True),
        ("first 15 then 16", "15", False),
        (r"$\{1,2\}$", r"$\{2,1\}$", True),
        (r"it is \frac{1}{2}", r"\frac{1}{2}", True),
        ("#### yes", "yes", True),
    ],
)
def test_math_verify_knows_what_is_equivalent(text, reference, correct):
    assert graded("math_verify", text, reference)[1] is correct


def test_math_verify_calls_a_text_without_an_answer_a_format_error():
    assert graded("math_verify", "hello there", "72") == (None, False)
    assert graded("math_verify", "", "72") == (None, False)


@pytest.mark.parametrize("text", ["$9^{9^{9^{9}}}$", "9**9**9**9", "$10^{10^{10}}$", "$2^{99999999}$", "$999999999!$"])
def test_math_verify_never_computes_what_has_no_end(text):
    answer, correct = graded("math_verify", text, "72")
    assert answer is not None
    assert not correct


def test_math_verify_works_in_a_thread():
    import threading

    found = []
    thread = threading.Thread(target=lambda: found.append(graded("math_verify", "$1/2$", "0.5")))
    thread.start()
    thread.join()
    assert found[0][1] is True


def test_a_marked_number_is_none_for_a_program():
    assert marked_number("x = 3\nprint(x)") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [("The answer is \u22125", "-5"), ("#### x = 5", "5"), ("The answer is y=-3.", "-3"), ("#### $ 12", "12")],
)
def test_a_typographic_minus_and_a_named_unknown_are_read(text, expected):
    assert marked_number(text) == expected


def test_the_last_number_keeps_a_typographic_minus():
    assert last_number("so it is \u22125") == "-5"


@pytest.mark.parametrize(
    ("text", "reference", "answer", "correct"),
    [
        ("3 + 4\n#### 72 apples", "72", "72", True),
        ("The answer is about 72.", "72", "72", True),
        ("The answer is $1,200.00.", "1200", "1,200.00", True),
        ("so it is 72, as said", "72", "72", True),
        ("it was 71. The answer is 72, not 73", "72", "72", True),
        ("The answer is unknown. 72", "72", "72", True),
        ("The answer is none", "72", "none", False),
        ("no idea", "72", None, False),
        ("#### 5.699999999999999", "5.7", "5.699999999999999", True),
        ("#### 5.69", "5.7", "5.69", False),
        ("#### 5e-05", "0.00005", "5e-05", True),
        ("#### 1e400000000", "1", "1e400", False),
        ("#### 3/4", "0.75", "3/4", True),
        ("#### -5", "5", "-5", False),
        ("#### 1/0", "1", "1/0", False),
        ("#### 0", "0", "0", True),
        ("#### 1e-12", "0", "1e-12", False),
        ("The answer is Option 2.", "option 2", "Option 2.", True),
        ("True", "True", "True", True),
        ("Let me see.\nFalse", "True", "False", False),
        ("The answer is $x^2$", "x^2", "$x^2$", True),
        ("", "True", None, False),
        ("\n", "72", None, False),
    ],
)
def test_marked_or_last_is_generous_about_the_place_and_strict_about_the_value(text, reference, answer, correct):
    assert graded("marked_or_last", text, reference) == (answer, correct)


@pytest.mark.parametrize(
    ("text", "reference", "correct"),
    [
        (r"so \boxed{\frac{1}{2}}", r"\frac{1}{2}", True),
        (r"so \boxed{0.5}", r"\frac{1}{2}", True),
        (r"\boxed{1}, no, \boxed{\dfrac12}", r"\frac{1}{2}", True),
        (r"\boxed{\frac{1}{2}}, and then 7", r"\frac{1}{2}", True),
        (r"The answer is $\frac{1}{2}$.", r"\frac{1}{2}", True),
        ("The answer is 1/2", r"\frac{1}{2}", True),
        ("#### sqrt(3)/2", r"\frac{\sqrt{3}}{2}", True),
        ("#### x**2 + 2*x", "x^2+2x", True),
        (r"\boxed{(3, \infty)}", r"(3,\infty)", True),
        (r"\boxed{3}", r"(3,\infty)", False),
        (r"\boxed{\text{Evelyn}}", "Evelyn", True),
        (r"\boxed{evelyn}", r"\text{Evelyn}", True),
        (r"\boxed{10,000}", "10000", True),
        (r"\boxed{10001}", "10000", False),
        (r"\boxed{\left( 1, 2 \right)}", "(1,2)", True),
        (r"\boxed{(2, 1)}", "(1,2)", False),
        (r"\boxed{90^\circ}", "90", True),
        (r"\boxed{9^{9^{9^{9}}}}", "1", False),
        (r"\boxed{" + "x+" * 300 + "x}", "301x", False),
        ("so it is 7", "7", True),
        ("no idea", "7", False),
        (r"\boxed{", "7", False),
        (r"\boxed{}", "7", False),
        (r"\boxed 7", "7", True),
    ],
)
def test_boxed_reads_what_stands_in_the_last_box(text, reference, correct):
    assert graded("boxed", text, reference)[1] is correct


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        (r"\boxed{a{b}c}", "a{b}c"),
        (r"\boxed{1} \boxed{2", "1"),
        (r"\fbox{3}", "3"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{\{1}", r"\{1"),
        (r"\boxed 5", "5"),
        ("none", None),
        (r"\boxed{}", None),
    ],
)
def test_a_box_is_read_to_its_own_brace(text, inside):
    from optbench.tasks.boxed import boxed

    assert boxed(text) == inside
