"""Draws the table "Over a Unix socket, prepared, 1 client" of RESULTS.md as an SVG picture: draw.py RESULTS.md reads.svg"""
import re
import sys
from xml.sax.saxutils import escape

WIDTH, LABELS, BAR, ROW = 760, 230, 380, 26
OURS = re.compile(r'^(me|me_json|has_role)\(')


def rows(text):
    """(name, microseconds) of the table's lines."""
    section = text.split('\n## Reading one user\n', 1)[1].split('\n## ', 1)[0]
    table = section.split('1 client,', 1)[1].split('\n\n', 2)[1]
    for line in table.splitlines()[2:]:
        cells = [cell.strip() for cell in line.strip('|').split('|')]
        yield cells[0], float(cells[2].replace(',', ''))


def draw(measured):
    longest = max(microseconds for _, microseconds in measured)
    height = ROW * len(measured) + 58
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13" role="img">'
    yield '<title>Microseconds to read one user over a Unix socket</title>'
    yield f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>'
    yield '<text x="12" y="24" font-size="15" font-weight="bold">Reading one user, microseconds (shorter is better)</text>'
    for i, (name, microseconds) in enumerate(measured):
        y = 40 + i * ROW
        width = max(1, BAR * microseconds / longest)
        colour = '#2a6fdb' if OURS.match(name) else '#9aa3ad'
        yield f'<text x="{LABELS}" y="{y + 15}" text-anchor="end">{escape(name)}</text>'
        yield f'<rect x="{LABELS + 8}" y="{y + 2}" width="{width:.1f}" height="{ROW - 8}" fill="{colour}"/>'
        yield f'<text x="{LABELS + 14 + width:.1f}" y="{y + 15}">{microseconds:g}</text>'
    yield f'<text x="12" y="{height - 6}" font-size="11" fill="#57606a">bench/run reads; one client, prepared statements, server and client on one core</text>'
    yield '</svg>'


with open(sys.argv[1]) as file:
    picture = '\n'.join(draw(list(rows(file.read())))) + '\n'
with open(sys.argv[2], 'w') as file:
    file.write(picture)
