"""What answers are worth, against figures worked out by hand."""

import re

import numpy as np
import pytest
from tensorboard.plugin_util import markdown_to_safe_html

import charts
import scores

CHARACTERS = ["0", "O", "o", "x"]  # x never occurs
LABELS = np.array([0, 0, 1, 1, 2])
PROBABILITIES = np.array(
    [
        [0.7, 0.1, 0.1, 0.1],  # 0 read as 0
        [0.2, 0.5, 0.3, 0.0],  # 0 read as O, 0 is third
        [0.1, 0.3, 0.6, 0.0],  # O read as o, O is second
        [0.0, 0.9, 0.1, 0.0],  # O read as O
        [0.0, 0.2, 0.8, 0.0],  # o read as o
    ]
)


def test_confusions_are_counted():
    expected = [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert scores.confusion(PROBABILITIES, LABELS).tolist() == expected


def test_figures_are_those_worked_out_by_hand():
    found = scores.figures(PROBABILITIES, LABELS, CHARACTERS)
    assert found == pytest.approx(
        {
            "top 1": 3 / 5,
            "top 2": 4 / 5,
            "top 3": 1.0,
            "case ignored": 4 / 5,
            # 0: precision 1, recall 1/2; O: 1/2 and 1/2; o: 1/2 and 1. x does not occur.
            "macro F1": (2 / 3 + 1 / 2 + 2 / 3) / 3,
        }
    )


def test_who_is_sure_of_one_class_alone_is_not_right_with_the_next():
    """All others have exactly 0, and are no second best."""
    answers = np.zeros((4, 4), np.float32)
    answers[:, 1] = 1
    figures = scores.figures(answers, np.arange(4), CHARACTERS)
    assert [figures[f"top {n}"] for n in (1, 2, 3)] == [0.25, 0.5, 0.75]


def test_of_equal_answers_the_first_is_the_best():
    """As for argmax, however many classes there are."""
    answers = np.random.default_rng(1).integers(0, 3, (62, 62)).astype(np.float32)
    letters = [chr(200 + n) for n in range(62)]
    assert scores.figures(answers, answers.argmax(axis=1), letters)["top 1"] == 1
    answers = answers[:, :3]
    surest = sorted(range(62), key=lambda n: -answers[n].max())
    wrong = answers.argmax(axis=1) + 1
    assert scores.surest_errors(answers, wrong, 62).tolist() == surest


def test_each_class_has_its_own_figures():
    precision, recall, f1, support = scores.per_class(scores.confusion(PROBABILITIES, LABELS))
    assert precision.tolist() == [1, 0.5, 0.5, 0] and recall.tolist() == [0.5, 0.5, 1, 0]
    np.testing.assert_allclose(f1, [2 / 3, 1 / 2, 2 / 3, 0])
    assert support.tolist() == [2, 2, 1, 0]


def test_a_class_that_is_called_a_stroke_has_its_figures_in_their_columns(tmp_path):
    """In the table that TensorBoard makes of them, '|' ends a cell."""
    import report  # here: it takes TensorFlow, seconds

    written = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(report.tf.summary, "text", lambda tag, text, step: written.append(text))
        report.write_test(tmp_path, 1, {}, np.diag([3, 1]), ["|", "a|b"])
    rows = re.findall("<tr>(.*?)</tr>", markdown_to_safe_html(written[1]), re.DOTALL)
    cells = [re.findall("<td>(.*?)</td>", row) for row in rows[1:]]
    ones = ["1.000"] * 3
    assert cells == [["|", *ones, "3"], ["a|b", *ones, "1"]]


def test_the_table_by_class_has_each_figure_in_its_column(tmp_path, monkeypatch):
    """Of the classes that occur: x does not."""
    import report  # here: it takes TensorFlow, seconds

    written, images = {}, []
    monkeypatch.setattr(report, "_image", lambda tag, image, step: images.append(image))
    monkeypatch.setattr(
        report.tf.summary, "text", lambda tag, text, step: written.update({tag: text})
    )
    report.write_test(
        tmp_path, 1, {"top 1": 0.6}, scores.confusion(PROBABILITIES, LABELS), CHARACTERS
    )
    assert written["by_class"].splitlines() == [
        "| character | precision | recall | F1 | support |",
        "|---|---|---|---|---|",
        "| 0 | 1.000 | 0.500 | 0.667 | 2 |",
        "| O | 0.500 | 0.500 | 0.500 | 2 |",
        "| o | 0.500 | 1.000 | 0.667 | 1 |",
    ]
    counts = scores.confusion(PROBABILITIES, LABELS)
    np.testing.assert_array_equal(images, [charts.confusion_matrix(counts, CHARACTERS)])
    assert written["final"].splitlines()[2:] == ["| top 1 | 0.6000 |"]


def test_the_surest_errors_come_first():
    assert scores.surest_errors(PROBABILITIES, LABELS, 24).tolist() == [2, 1]
    assert scores.surest_errors(PROBABILITIES, LABELS, 1).tolist() == [2]


def test_the_confusion_matrix_shows_what_is_confused():
    counts = scores.confusion(PROBABILITIES, LABELS)
    with np.errstate(invalid="raise"):  # x has no share of anything
        picture = charts.confusion_matrix(counts, CHARACTERS)
    cell = (picture.shape[1] - 2 * charts.MARGIN) // len(CHARACTERS)

    def middle(row, column):
        y, x = (charts.MARGIN + cell * k + cell // 2 for k in (row, column))
        return picture[y, x].astype(int)

    def brightness(row, column):
        return middle(row, column).sum()

    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    assert brightness(2, 2) > brightness(0, 1) > brightness(0, 2)  # always, half, never
    red, _, blue = middle(2, 2)
    assert red > blue, "yellow, as RGB"
    for canvas in (picture, picture.swapaxes(0, 1)):  # between rows, between columns
        edges = [canvas[charts.MARGIN + cell * k, charts.MARGIN + 1] for k in (1, 2, 3)]
        assert [bool((edge == 255).all()) for edge in edges] == [True, True, False]  # 0|O|o x


def test_the_confusion_matrix_shows_the_square_root_of_each_share():
    picture = charts.confusion_matrix(np.array([[1, 3], [0, 1]]), "ab")
    shades = np.uint8([[round(255 * share**0.5) for share in (0.25, 0.75, 0, 1)]])
    colours = charts.cv2.applyColorMap(shades, charts.cv2.COLORMAP_CIVIDIS)[0, :, ::-1]
    edges = charts.MARGIN + 100, charts.MARGIN + 434 + 100
    assert [picture[y, x].tolist() for y in edges for x in edges] == colours.tolist()


def test_rows_and_columns_of_a_confusion_matrix_have_their_own_names(monkeypatch):
    places = []
    monkeypatch.setattr(charts, "put_text", lambda _, *words, **__: places.append(words[:3]))
    height, width = charts.confusion_matrix(np.eye(10, dtype=int), "abcdefghij").shape[:2]
    left = [text for text, x, y in places if x < charts.MARGIN]
    right = [text for text, x, y in places if x > width - charts.MARGIN]
    above = [text for text, x, y in places if y < charts.MARGIN]
    below = [text for text, x, y in places[:-1] if y > height - 2 * charts.MARGIN]
    assert left == right == above == below == [*"abcdefghij"]


@pytest.mark.parametrize(("classes", "cell"), [(2, 434), (62, 14), (1000, 4), (4096, 1)])
def test_the_confusion_matrix_of_many_classes_is_no_larger_than_a_screen_can_show(classes, cell):
    """Of 4096 classes, the most there may be, it would take 10 GB in cells of 14 pixels."""
    counts = np.zeros((classes, classes), np.uint8)
    counts[-1, -1] = 1
    picture = charts.confusion_matrix(counts, [chr(0x4E00 + k) for k in range(classes)])
    assert picture.shape[1] == classes * cell + 2 * charts.MARGIN < 4300
    assert picture[-2 * charts.MARGIN - 1, -charts.MARGIN - 1, 0] > 200  # the last cell's corner


def texts_cut(monkeypatch, draw):
    """What `draw` writes, and of that what had to be shortened for want of room."""
    written, shown = [], []
    put_text, draw_text = charts.put_text, charts.cv2.putText

    def write(canvas, text, *place, **options):
        written.append(text)
        put_text(canvas, text, *place, **options)

    def note(canvas, text, *rest):
        shown.append(text)
        draw_text(canvas, text, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(charts, "put_text", write)
        patched.setattr(charts.cv2, "putText", note)
        draw()
    return written, [text for text, drawn in zip(written, shown, strict=True) if text != drawn]


NAMES = "T-shirt/top Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag Ankle_boot".split()


@pytest.mark.parametrize("names", ["0123456789", NAMES])
def test_charts_of_ten_classes_have_room_for_their_names_and_words(names, monkeypatch):
    """As of MNIST: 'rows: what it w... shares'; as of Fashion-MNIST: names over one another."""
    written, cut = texts_cut(
        monkeypatch, lambda: charts.confusion_matrix(np.eye(10, dtype=int), names)
    )
    assert len(written) == 4 * 10 + 1 and not cut

    some = np.arange(10)
    images, sure = np.zeros((10, 28, 28)), np.ones(10)
    _, cut = texts_cut(
        monkeypatch, lambda: charts.gallery(images, some, some[::-1], sure, [*names])
    )
    assert not cut


def test_cells_of_a_confusion_matrix_that_are_too_small_have_a_label_together(monkeypatch):
    letters = [chr(0x4E00 + k) for k in range(400)]
    counts = np.eye(400, dtype=np.uint8)
    written, _ = texts_cut(monkeypatch, lambda: charts.confusion_matrix(counts, letters))
    assert len(written) == 4 * 200 + 1  # of 10 px each


def test_names_in_a_confusion_matrix_lie_beside_it_and_not_over_one_another(monkeypatch):
    """Each in its own place: nothing is drawn within the cells, nor over the next name."""
    places = []
    monkeypatch.setattr(charts, "put_text", lambda *args, room, **_: places.append((args, room)))
    picture = charts.confusion_matrix(np.eye(10, dtype=int), NAMES)
    beside = 8 * len("T-shirt/top")
    cell = (picture.shape[1] - 2 * beside) // 10
    for (_, _, x, y, *_), room in places[:-1]:
        if charts.MARGIN < y < picture.shape[0] - 2 * charts.MARGIN:
            outside = min(x, picture.shape[1] - x)
            assert outside - room / 2 >= 0 and outside + room / 2 <= beside
        else:
            assert room < cell and (x - beside - cell / 2) % cell == 0


@pytest.mark.parametrize("count", [0, 1, 24])
def test_galleries_take_any_number_of_images(count):
    images = np.linspace(0, 1, count * 784).reshape(count, 28, 28, 1)
    labels, answers = np.zeros(count, int), np.ones(count, int)
    with_words = charts.gallery(images, labels, answers, np.full(count, 0.9), CHARACTERS)
    plain = charts.image_grid(images)
    assert with_words.dtype == plain.dtype == np.uint8
    assert with_words.shape[0] > plain.shape[0] or not count  # words below
    assert with_words.shape[1] == plain.shape[1]


def test_a_gallery_has_rows_of_eight_images():
    images = np.ones((17, 28, 28, 1))
    images[15:] = 0  # the last of the second row, the first of the third
    zeros = np.zeros(17, int)
    with_words = charts.gallery(images, zeros, zeros, np.ones(17), CHARACTERS)
    for picture, apart in ((charts.image_grid(images), 90), (with_words, 108)):
        dark = picture[84::apart, 48::90, 0] < 20
        assert np.argwhere(dark).tolist() == [[1, 7], [2, 0]]
    assert charts.image_grid(images[:16]).shape[0] == 2 * (6 + charts.TILE) + 6


def test_a_gallery_says_what_was_read_for_what(monkeypatch):
    words = []
    monkeypatch.setattr(charts, "put_text", lambda canvas, text, *_, **__: words.append(text))
    charts.gallery(np.zeros((2, 28, 28)), [1, 3], [2, 0], [0.994, 0.5], CHARACTERS)
    assert words == ["o for O  99 %", "0 for x  50 %"]


def test_words_stand_in_the_middle_below_their_own_image(monkeypatch):
    """Also where long names keep the images apart."""
    places = []
    monkeypatch.setattr(charts, "put_text", lambda _, text, *place, **__: places.append(place[:2]))
    some = np.arange(10)
    picture = charts.gallery(np.ones((10, 28, 28)), some, some, np.ones(10), NAMES)
    assert picture.shape[1] > 8 * (charts.TILE + 6) + 6, "no name keeps them apart"
    count, _, boxes, _ = charts.cv2.connectedComponentsWithStats(np.uint8(picture[..., 0] == 255))
    assert count == 11  # the ground is the first
    boxes = sorted(boxes[1:].tolist(), key=lambda box: (box[1], box[0]))
    for (x, y), (left, top, width, height, _) in zip(places, boxes, strict=True):
        assert abs(left + width / 2 - x) <= 1 and 0 < y - (top + height) < 18
    assert boxes[0][0] == picture.shape[1] - boxes[7][0] - boxes[7][2], "the edges are as wide"


def test_kernels_are_shown_as_they_lie_on_an_image():
    weights = np.zeros((3, 3, 1, 2))
    weights[0, 2, 0, 1] = 1  # above on the right
    tile = charts.kernels(weights)[6:-6, 6 + charts.TILE + 6 : -6, 0]
    assert np.argwhere(tile[14::28, 14::28] == 255).tolist() == [[0, 2]]


def test_kernels_are_grey_where_they_are_zero():
    weights = np.zeros((3, 3, 1, 4))
    weights[..., 1], weights[..., 2] = 1, -2
    tiles = charts.kernels(weights)
    row = 6 + charts.TILE // 2
    shades = [int(tiles[row, 6 + charts.TILE // 2 + k * (charts.TILE + 6), 0]) for k in range(4)]
    assert shades == [128, 191, 0, 128]
    with np.errstate(invalid="raise"):
        assert charts.kernels(0 * weights)[row, 6 + charts.TILE // 2, 0] == 128
